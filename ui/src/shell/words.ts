import { dictionary } from "../i18n";

export default dictionary(
  {
    "choose": "Who do you want to look as?",
    "choose.none": "Choose somebody",
    "choose.users": "Users",
    "choose.roles": "Roles",
    "choose.text": "Until you end it, this tab shows what that person sees, as far as you may see it yourself. Nothing can be changed meanwhile, and the audit log notes what you look at.",
    "choose.go": "Look as this person",
    "viewed": "You see the project as {name}",
    "viewed.text": "Pages, rows and figures are those that {name} may see, and you too. Nothing can be changed; notices of what happens now are still yours. The audit log notes what you look at.",
    "viewed.end": "End",
  },
  {
    "choose": "以谁的身份查看？",
    "choose.none": "请选择",
    "choose.users": "用户",
    "choose.roles": "角色",
    "choose.text": "结束之前，本标签页只显示该身份能看到、且您本人也有权查看的内容。期间不能做任何修改，审计日志会记录您查看了什么。",
    "choose.go": "以此身份查看",
    "viewed": "您正以 {name} 的身份查看",
    "viewed.text": "页面、数据行和数字均为 {name} 与您都有权查看的内容。期间不能修改；实时通知仍属于您本人。审计日志会记录您查看了什么。",
    "viewed.end": "结束",
  },
);
